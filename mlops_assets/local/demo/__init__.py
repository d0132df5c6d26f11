"""The main job on real data, seen from outside: land files, ask the service, and watch the platform do the rest."""
