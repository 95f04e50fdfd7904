"""`curbwatch bench ...`: each benchmark is a module beside this one."""

from curbwatch.lazy import LazyGroup

cli = LazyGroup(
    package="curbwatch.commands.bench", name="bench", help="Measure: events, throughput, faults, chaos."
)
