"""What is done about each message: ``base`` says what a rule is, ``table`` which there are and in what order."""
