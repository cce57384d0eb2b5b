"""Training of the networks of the profile `demo` on rendered frames."""
