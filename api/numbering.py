"""Numbering packs: what cities call our classes. A code is (pack, version, code), never bare: tables clash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contract import IssueClass

HERE = Path(__file__).parent / "packs" / "numbering"
Text = Annotated[str, Field(pattern=r"^\d{4,6}$")]


class Code(BaseModel):
    """A code with the table that it belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pack: str
    version: str
    code: Text

    def __str__(self) -> str:
        return f"{self.pack}@{self.version}:{self.code}"


class Numbering(BaseModel):
    """A numbering table: codes by our class, the usual one first."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    version: Annotated[str, Field(min_length=1, max_length=40, description='In quotes, such as "2026".')]
    title: Annotated[str, Field(max_length=200)]
    codes: Annotated[dict[IssueClass, Annotated[tuple[Text, ...], Field(min_length=1)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _once(self) -> Self:
        for issue, codes in self.codes.items():
            if len(set(codes)) != len(codes):
                raise ValueError(f"codes.{issue.value}: a code is there twice")
        return self

    def of(self, issue: IssueClass) -> tuple[Code, ...]:
        """Return the codes of a class; none where the table has none."""
        return tuple(Code(pack=self.name, version=self.version, code=c) for c in self.codes.get(issue, ()))

    def classes(self, code: str) -> tuple[IssueClass, ...]:
        """Return the classes that a code of this table may mean: one code may cover the act and the state."""
        return tuple(issue for issue, codes in self.codes.items() if code in codes)


def problems(path: Path, exc: ValidationError) -> str:
    """Return one line a problem: file, field, mend."""
    lines = []
    for error in exc.errors():
        field = ".".join(str(p) for p in error["loc"])
        words = error["msg"].removeprefix("Value error, ")
        lines.append(f"{path}: {field}: {words}" if field else f"{path}: {words}")
    return "\n".join(lines)
