//! The fixture for guests in Zig: freestanding, the common operations, nothing imported but waPC.
//!
//! Zig's empty slices point to 0xffffffff, far outside the memory, and the host is handed them as they
//! are: for the request of an empty payload, for empty responses, for empty host calls.

const std = @import("std");

const host = struct {
    extern "wapc" fn __guest_request(operation: [*]u8, payload: [*]u8) void;
    extern "wapc" fn __guest_response(start: [*]const u8, length: usize) void;
    extern "wapc" fn __guest_error(start: [*]const u8, length: usize) void;
    extern "wapc" fn __host_call(
        binding: [*]const u8,
        binding_length: usize,
        namespace: [*]const u8,
        namespace_length: usize,
        operation: [*]const u8,
        operation_length: usize,
        payload: [*]const u8,
        payload_length: usize,
    ) bool;
    extern "wapc" fn __host_response_len() usize;
    extern "wapc" fn __host_response(to: [*]u8) void;
    extern "wapc" fn __host_error_len() usize;
    extern "wapc" fn __host_error(to: [*]u8) void;
    extern "wapc" fn __console_log(start: [*]const u8, length: usize) void;
};

/// What an operation says to its caller.
const Outcome = union(enum) {
    response: []const u8,
    failure: []const u8,
};

const Operation = *const fn (call_memory: std.mem.Allocator, payload: []const u8) error{OutOfMemory}!Outcome;

const operations = .{
    .{ "echo", echo },
    .{ "hello", hello },
    .{ "ping_host", pingHost },
    .{ "fail", fail },
    .{ "log", log },
    .{ "panic", panicOperation },
    .{ "count", count },
};

/// All that a call allocates; emptied, but kept, for the next one.
var arena: std.heap.ArenaAllocator = undefined;
var initialized = false;

/// The host calls this once, before the first operation.
export fn wapc_init() void {
    arena = .init(std.heap.wasm_allocator);
    initialized = true;
}

export fn __guest_call(operation_length: usize, payload_length: usize) bool {
    if (!initialized) {
        return answer(.{ .failure = "wapc_init has not run" });
    }
    _ = arena.reset(.retain_capacity);
    return answer(handle(operation_length, payload_length) catch .{ .failure = "out of memory" });
}

fn handle(operation_length: usize, payload_length: usize) !Outcome {
    const call_memory = arena.allocator();
    const name = try call_memory.alloc(u8, operation_length);
    const payload = try call_memory.alloc(u8, payload_length);
    host.__guest_request(name.ptr, payload.ptr);

    inline for (operations) |entry| {
        if (std.mem.eql(u8, name, entry[0])) {
            return @as(Operation, entry[1])(call_memory, payload);
        }
    }
    return .{ .failure = try std.mem.concat(call_memory, u8, &.{ "unknown operation: ", name }) };
}

fn answer(outcome: Outcome) bool {
    switch (outcome) {
        .response => |bytes| host.__guest_response(bytes.ptr, bytes.len),
        .failure => |reason| host.__guest_error(reason.ptr, reason.len),
    }
    return outcome == .response;
}

fn echo(_: std.mem.Allocator, payload: []const u8) !Outcome {
    return .{ .response = payload };
}

fn hello(call_memory: std.mem.Allocator, name: []const u8) !Outcome {
    return .{ .response = try std.mem.concat(call_memory, u8, &.{ "Hello, ", name, "." }) };
}

fn pingHost(call_memory: std.mem.Allocator, payload: []const u8) !Outcome {
    const binding = "bind";
    const namespace = "ns";
    const operation = "op";
    if (host.__host_call(
        binding,
        binding.len,
        namespace,
        namespace.len,
        operation,
        operation.len,
        payload.ptr,
        payload.len,
    )) {
        const response = try call_memory.alloc(u8, host.__host_response_len());
        host.__host_response(response.ptr);
        return .{ .response = response };
    }
    const reason = try call_memory.alloc(u8, host.__host_error_len());
    host.__host_error(reason.ptr);
    return .{ .failure = reason };
}

fn fail(_: std.mem.Allocator, message: []const u8) !Outcome {
    return .{ .failure = message };
}

fn log(call_memory: std.mem.Allocator, line: []const u8) !Outcome {
    host.__console_log(line.ptr, line.len);
    return .{ .response = try call_memory.alloc(u8, 0) };
}

fn panicOperation(_: std.mem.Allocator, _: []const u8) !Outcome {
    @panic("as the caller asked");
}

fn count(call_memory: std.mem.Allocator, _: []const u8) !Outcome {
    const calls = struct {
        var counted: u32 = 0;
    };
    calls.counted += 1;
    return .{ .response = try std.fmt.allocPrint(call_memory, "{d}", .{calls.counted}) };
}
