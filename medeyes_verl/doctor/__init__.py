"""`medeyes-verl doctor`: is this environment, this plugin, this model and this data fit for a run?"""
