"""Which settings apply, and where did each come from? Reads and writes the files of settings; asks no server."""

from firectl.config.base_url import DEFAULT_BASE_URL, is_loopback
from firectl.config.files import home, local_home, private_folder, shown, sync_folder, write_private
from firectl.config.profiles import Profile, check_value, has_profile, profiles, read_profile, write_profile
from firectl.config.settings import Flags, Setting, Settings, chosen_profile, resolve

__all__ = [
    "DEFAULT_BASE_URL",
    "Flags",
    "Profile",
    "Setting",
    "Settings",
    "check_value",
    "chosen_profile",
    "has_profile",
    "home",
    "is_loopback",
    "local_home",
    "private_folder",
    "profiles",
    "read_profile",
    "resolve",
    "shown",
    "sync_folder",
    "write_private",
    "write_profile",
]
