"""Does the claim hold, and does the subject compute it?"""
