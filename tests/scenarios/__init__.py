"""What walbrook must do with real servers, one behaviour a file. The first line of a file says what it proves."""
