"""The issue taxonomy. Ours is stable; a city's codes live in its pack as (pack, version, code)."""

from __future__ import annotations

from enum import StrEnum


class IssueClass(StrEnum):
    """A kind of street issue."""

    SHOPFRONT = "street_occupation.shopfront"
    ROADSIDE = "street_occupation.roadside"
    VENDOR_UNLICENSED = "vendor.unlicensed"
    VENDOR_OUT_OF_PERMIT = "vendor.out_of_permit"
    DUMPING_ACT = "dumping.act"
    DUMPING_EXPOSED = "dumping.exposed"
    BIN_OVERFLOW = "dumping.bin_overflow"
    PARKING_MOTOR = "parking.motor"
    PARKING_NON_MOTOR = "parking.non_motor"
    FIRE_LANE = "parking.fire_lane"

    @property
    def family(self) -> str:
        """The part before the dot: street_occupation, vendor, dumping or parking."""
        return self.value.split(".", 1)[0]

    @property
    def zh(self) -> str:
        """The Chinese name that reviewers read."""
        return _ZH[self]

    @property
    def en(self) -> str:
        """The English name that reviewers read."""
        return _EN[self]


_ZH = {
    IssueClass.SHOPFRONT: "店外经营",
    IssueClass.ROADSIDE: "占道经营",
    IssueClass.VENDOR_UNLICENSED: "疑似无照经营游商",
    IssueClass.VENDOR_OUT_OF_PERMIT: "便民点超时超区",
    IssueClass.DUMPING_ACT: "乱倒垃圾",
    IssueClass.DUMPING_EXPOSED: "暴露垃圾",
    IssueClass.BIN_OVERFLOW: "垃圾满溢",
    IssueClass.PARKING_MOTOR: "机动车乱停放",
    IssueClass.PARKING_NON_MOTOR: "非机动车乱停放",
    IssueClass.FIRE_LANE: "占用消防通道",
}
_EN = {
    IssueClass.SHOPFRONT: "Goods beyond the shop front",
    IssueClass.ROADSIDE: "Roadside stall",
    IssueClass.VENDOR_UNLICENSED: "Suspected vendor outside permitted point or time",
    IssueClass.VENDOR_OUT_OF_PERMIT: "Permitted vendor outside time or area",
    IssueClass.DUMPING_ACT: "Illegal dumping, the act",
    IssueClass.DUMPING_EXPOSED: "Exposed garbage",
    IssueClass.BIN_OVERFLOW: "Overflowing bin",
    IssueClass.PARKING_MOTOR: "Illegally parked motor vehicle",
    IssueClass.PARKING_NON_MOTOR: "Badly parked bicycle or scooter",
    IssueClass.FIRE_LANE: "Blocked fire lane",
}


class StreetClass(StrEnum):
    """How strictly a street is managed; it sets the dwell, the priority and the time limit."""

    PROHIBIT = "prohibit"
    CONTROL = "control"
    REGULATE = "regulate"


class ZoneKind(StrEnum):
    """What a polygon in the picture means. A permitted zone subtracts from the others."""

    NO_PARKING = "no_parking"
    NO_DUMPING = "no_dumping"
    NO_VENDING = "no_vending"
    PAVEMENT = "pavement"
    FRONTAGE = "frontage"
    FIRE_LANE = "fire_lane"
    TACTILE_PATH = "tactile_path"
    BUS_STOP = "bus_stop"
    MOVING_LANE = "moving_lane"
    NON_MOTOR_PARKING = "non_motor_parking"
    PARKING_BAY = "parking_bay"
    LOADING = "loading"
    PERMITTED_VENDING = "permitted_vending"
    TERRACE = "terrace"
    COLLECTION_POINT = "collection_point"
    BIN = "bin"
    PRIVACY_MASK = "privacy_mask"

    @property
    def permits(self) -> bool:
        """True when the zone allows what another zone under it forbids."""
        return self in {
            ZoneKind.NON_MOTOR_PARKING,
            ZoneKind.PARKING_BAY,
            ZoneKind.LOADING,
            ZoneKind.PERMITTED_VENDING,
            ZoneKind.TERRACE,
            ZoneKind.COLLECTION_POINT,
        }
