"""The only room that knows every other: it opens a trial's folder and hands each stage what it needs.

`trial` opens and registers; `servers` are processes that run until told to stop; `tasks` are the bodies of Airflow
tasks, which find the folder in the environment variable SHADOW_HOME; `assessing` publishes and tells. A stage is
imported where it is used: a lane starts in a second where it loads no other stage.
"""
