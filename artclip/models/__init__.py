"""Models in and out: files, hubs, functions that make a model, and folders that artclip wrote."""
