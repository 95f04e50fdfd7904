"""Where one machine ends: camera groups on a pool of nodes, and jobs over recorded footage, by Ray (the extra `cluster`)."""
