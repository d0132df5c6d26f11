"""One declaration per use case becomes a living asset graph. README.md draws it."""
