"""Calls a guest from Python, with nothing but the library and ctypes: hello.py LIBWAPC MODULE ENGINE"""

import ctypes
import json
import sys
from ctypes import POINTER, Structure, byref, c_bool, c_char_p, c_size_t, c_uint64, c_void_p


class Bytes(Structure):
    _fields_ = [("data", c_void_p), ("length", c_size_t)]

    def __bytes__(self):
        return ctypes.string_at(self.data, self.length)


class HostCall(Structure):
    _fields_ = [("host_id", c_uint64), ("generation", c_uint64), ("binding", Bytes), ("namespace", Bytes),
                ("operation", Bytes), ("payload", Bytes), ("context", c_void_p)]


class Buffer(Structure):
    _fields_ = [("data", c_void_p), ("length", c_size_t), ("capacity", c_size_t)]


Callback = ctypes.CFUNCTYPE(c_bool, c_void_p, POINTER(HostCall), c_void_p)


class Failure(Exception):
    """An error of the library: the name of its status, and its text."""


class Host:
    def __init__(self, library, module, answer, **options):
        self.library = wapc = ctypes.CDLL(library)
        for function in "wapc_options_new", "wapc_host_new":
            getattr(wapc, function).restype = c_void_p
        for function in "wapc_error_message", "wapc_status_name":
            getattr(wapc, function).restype = c_char_p
        wapc.wapc_answer_append.argtypes = [c_void_p, c_char_p, c_size_t]
        wapc.wapc_options_set_callback.argtypes = [c_void_p, Callback, c_void_p, c_void_p]
        wapc.wapc_host_new.argtypes = [c_char_p, c_size_t, c_void_p, POINTER(c_void_p)]

        def callback(_, call, response):
            try:
                succeeded, text = True, answer(bytes(call.contents.operation), bytes(call.contents.payload))
            except Exception as error:
                succeeded, text = False, str(error).encode()
            wapc.wapc_answer_append(response, text, len(text))
            return succeeded

        # The host calls it, so it must live as long.
        self.callback = Callback(callback)
        settings = c_void_p(wapc.wapc_options_new())
        error = c_void_p()
        self.host = None
        if wapc.wapc_options_set_json(settings, json.dumps(options).encode(), byref(error)) == 0:
            wapc.wapc_options_set_callback(settings, self.callback, None, None)
            self.host = c_void_p(wapc.wapc_host_new(module, len(module), settings, byref(error)))
        wapc.wapc_options_free(settings)
        self.raise_if(error)

    def call(self, operation, payload=b""):
        response, error = Buffer(), c_void_p()
        self.library.wapc_host_call(
            self.host, operation.encode(), payload, c_size_t(len(payload)), None, byref(response), byref(error))
        try:
            self.raise_if(error)
            return ctypes.string_at(response.data, response.length)
        finally:
            self.library.wapc_buffer_free(byref(response))

    def raise_if(self, error):
        if error:
            status = self.library.wapc_status_name(self.library.wapc_error_status(error))
            message = self.library.wapc_error_message(error)
            self.library.wapc_error_free(error)
            raise Failure(status.decode(), message.decode())

    def close(self):
        self.library.wapc_host_free(self.host)
        self.host = None


def main():
    library, path, engine = sys.argv[1:]
    with open(path, "rb") as module:
        host = Host(library, module.read(), lambda operation, payload: operation + b": " + payload, engine=engine)
    for operation, payload in ("hello", b"World"), ("ping_host", b"a payload"), ("panic", b""), ("hello", b"again"):
        try:
            print(f"{operation}: {host.call(operation, payload).decode()}")
        except Failure as failure:
            status, _ = failure.args
            print(f"{operation}: {status}")
    host.close()


main()
