"""What does a framework say?"""
