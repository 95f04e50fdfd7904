"""The signer's side of model releases: keys, roles, publishing. It never runs at the centre or on a box."""
