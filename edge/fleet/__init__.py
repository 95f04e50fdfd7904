"""The box's side of the fleet: enrolment, the centre's configuration, released models."""
