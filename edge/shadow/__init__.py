"""Another model beside the one that counts: on a share of the frames, in a process of its own, heard by nobody but the report."""
