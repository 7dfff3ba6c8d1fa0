"""The one HTTP client, for the policies and the oracles, and where its requests go."""
