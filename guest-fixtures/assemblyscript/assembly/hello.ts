// The fixture for guests in AssemblyScript: the common operations on the official SDK `@wapc/as-guest`.
//
// An abort (the operation `panic`) sets the guest error through the SDK and traps all the same.

import { consoleLog, handleAbort, handleCall, hostCall, register, Result } from "@wapc/as-guest";

// The host calls this once, before the first operation.
export function wapc_init(): void {
  register("echo", echo);
  register("hello", hello);
  register("ping_host", pingHost);
  register("fail", fail);
  register("log", log);
  register("panic", panic);
  register("count", count);
}

export function __guest_call(operationSize: usize, payloadSize: usize): bool {
  return handleCall(operationSize, payloadSize);
}

// Named by the compiler's `--use abort=`: without it the module would import `env.abort`.
function abort(message: string | null, fileName: string | null, line: u32, column: u32): void {
  handleAbort(message, fileName, line, column);
}

function echo(payload: ArrayBuffer): Result<ArrayBuffer> {
  return Result.ok(payload);
}

function hello(name: ArrayBuffer): Result<ArrayBuffer> {
  return Result.ok(String.UTF8.encode("Hello, " + String.UTF8.decode(name) + "."));
}

function pingHost(payload: ArrayBuffer): Result<ArrayBuffer> {
  return hostCall("bind", "ns", "op", payload);
}

function fail(message: ArrayBuffer): Result<ArrayBuffer> {
  return Result.error<ArrayBuffer>(new Error(String.UTF8.decode(message)));
}

function log(line: ArrayBuffer): Result<ArrayBuffer> {
  consoleLog(String.UTF8.decode(line));
  return Result.ok(new ArrayBuffer(0));
}

function panic(message: ArrayBuffer): Result<ArrayBuffer> {
  throw new Error(String.UTF8.decode(message));
}

let counted: u32 = 0;

function count(_: ArrayBuffer): Result<ArrayBuffer> {
  counted++;
  return Result.ok(String.UTF8.encode(counted.toString()));
}
