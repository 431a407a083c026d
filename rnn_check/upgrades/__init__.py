"""What did the upgrade change?"""
