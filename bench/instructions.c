/* What callgrind is told from inside: see bench/instructions.py. */
#include <valgrind/callgrind.h>

void counting_starts(void) { CALLGRIND_START_INSTRUMENTATION; }
void counting_stops(void) { CALLGRIND_STOP_INSTRUMENTATION; }
void count_from_here(void) { CALLGRIND_ZERO_STATS; }
void write_count(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
int counted(void) { return RUNNING_ON_VALGRIND; }
