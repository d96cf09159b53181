"""Stands before the package extism_sys, and opens the library that the variable LIBEXTISM names in the place of its own."""

import importlib.util
import os
import sysconfig

_path = os.path.join(sysconfig.get_paths()["purelib"], "extism_sys", "ffi.py")
_spec = importlib.util.spec_from_file_location("extism_sys.ffi", _path)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
ffi = _module.ffi
lib = ffi.dlopen(os.environ["LIBEXTISM"])
