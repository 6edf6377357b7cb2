"""The page that `--to web` writes: a static folder with the network, what runs it in a browser, and what shows it."""
