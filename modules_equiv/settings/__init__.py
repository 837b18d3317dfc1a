"""The settings of a deployment: settings.toml, overridden by ML_INFRA_<SECTION>__<KEY> in the environment.

All errors are reported together, before anything is synthesized.
"""

from modules_equiv.settings.environment import OTHER_VARIABLES, PREFIX
from modules_equiv.settings.file import DEFAULT_PATH, PATH_VARIABLE, named_path
from modules_equiv.settings.loading import load_settings
from modules_equiv.settings.models import AccessConfig, DeploymentConfig, Settings, StateConfig
from modules_equiv.settings.problems import Problem, SettingsError

__all__ = [
    "DEFAULT_PATH",
    "OTHER_VARIABLES",
    "PATH_VARIABLE",
    "PREFIX",
    "AccessConfig",
    "DeploymentConfig",
    "Problem",
    "Settings",
    "SettingsError",
    "StateConfig",
    "load_settings",
    "named_path",
]
