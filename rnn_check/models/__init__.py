"""Does each recurrent layer of somebody's own model compute its recurrence, where it stands?"""
