// Client (tess) <-> pComponent: programs and their consoles. Fixed layout, little-endian.
//
// Spawn starts a program with a console: either three byte streams (stdin, stdout, stderr apart) or
// one terminal. Output is fetched by long polls that name the offset wanted next, so a poll may be
// repeated over a new connection; input carries its offset for the same reason.
#pragma once

#include "base/endian.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::schema {

// kSpawn: SpawnRequest, then argc NUL-terminated arguments, envc NUL-terminated NAME=VALUE strings,
// then the working directory, NUL-terminated. argv[0] is looked up in PATH of the given environment
// when it has no slash. Errors: NotFound, NotExecutable, NoMemory, Unsupported, AccessDenied.
struct SpawnRequest {
    Le32 vnode;
    Le16 argc;
    Le16 envc;
    Le16 rows; // terminal size; 0 x 0 with terminal = 0
    Le16 columns;
    unsigned char terminal = 0; // 1: stdin/out/err are one tty, and the program leads its session
    unsigned char reserved[3] = {};
    Le32 uid;
    Le32 gid;
};
static_assert(sizeof(SpawnRequest) == 24);

struct SpawnReply {
    Le32 pid;
    Le32 reserved;
    Le64 console; // names it in every later request; random, never reused
};
static_assert(sizeof(SpawnReply) == 16);

// kConsolePoll: answered as soon as there is output past the offsets, or the program has ended, or
// after wait_ms. Everything before the named offsets may be forgotten by the pComponent.
struct ConsolePollRequest {
    Le64 console;
    Le64 out_offset;
    Le64 error_offset;
    Le32 wait_ms;
    Le32 reserved;
};
static_assert(sizeof(ConsolePollRequest) == 32);

enum class ConsoleState : uint8_t { Running = 0, Exited = 1, Killed = 2, Stopped = 3 };

// Followed by out_length bytes of stdout (or terminal), then error_length bytes of stderr.
struct ConsolePollReply {
    Le32 out_length;
    Le32 error_length;
    unsigned char state = 0;   // ConsoleState
    unsigned char code = 0;    // exit status, or the signal that killed or stopped it
    unsigned char out_end = 0; // 1: no more bytes will come on this stream
    unsigned char error_end = 0;
    Le32 input_room;      // bytes kConsoleInput would take now
    char reason[64] = {}; // NUL-terminated text for deaths that are not the program's own doing
};
static_assert(sizeof(ConsolePollReply) == 80);

// kConsoleInput, followed by bytes. Reply: ConsoleInputReply. Bytes before the offset the
// pComponent already has are skipped, so a repeat is harmless. Without a terminal the answer waits
// (some seconds at most) until all is taken, and for requests with lower offsets.
struct ConsoleInputRequest {
    Le64 console;
    Le64 offset;
    unsigned char end =
        0; // 1: end of input after these bytes (stdin closes; ignored for a terminal)
    unsigned char reserved[7] = {};
};
static_assert(sizeof(ConsoleInputRequest) == 24);
struct ConsoleInputReply {
    Le64 accepted; // total bytes taken so far
};
static_assert(sizeof(ConsoleInputReply) == 8);

struct ConsoleResizeRequest {
    Le64 console;
    Le16 rows;
    Le16 columns;
    Le32 reserved;
};
static_assert(sizeof(ConsoleResizeRequest) == 16);

// kSignal: to the console's foreground process group (terminal) or the program's group. Linux
// numbers. console 0: to `pid` of `vnode`. Signal 0 with console != 0 ends the console: SIGHUP,
// then forget it.
struct SignalRequest {
    Le64 console;
    Le32 vnode;
    Le32 pid;
    Le32 signal;
    Le32 reserved;
};
static_assert(sizeof(SignalRequest) == 24);

// kProcessList: request Le32 vnode (0 = all) + Le32 first index; reply: ProcessEntry[], up to a
// message full.
struct ProcessEntry {
    Le32 vnode;
    Le32 pid;
    Le32 parent;
    Le32 group;
    Le32 uid;
    unsigned char state = 0; // Linux letter: R S T Z
    unsigned char reserved[3] = {};
    Le64 start_ns; // since the component started
    Le64 cpu_ns;
    Le64 resident_lines;
    Le64 virtual_pages;
    char name[32] = {};
};
static_assert(sizeof(ProcessEntry) == 88);

} // namespace tessera::schema
