"""What is a subject asked about a claim, and what did it say?"""
