"""Training of the networks that the profile demo ships, on rendered frames."""
