//! Writes standard input to standard output in upper case.

const std = @import("std");

pub fn main(init: std.process.Init) !void {
    var input_buffer: [4096]u8 = undefined;
    var output_buffer: [4096]u8 = undefined;
    var input = std.Io.File.stdin().reader(init.io, &input_buffer);
    var output = std.Io.File.stdout().writer(init.io, &output_buffer);
    while (input.interface.takeByte()) |byte| {
        try output.interface.writeByte(std.ascii.toUpper(byte));
    } else |err| {
        if (err != error.EndOfStream) return err;
    }
    try output.interface.flush();
}
