"""What each command of `lupi` does: calls the library, prints what came of it."""
