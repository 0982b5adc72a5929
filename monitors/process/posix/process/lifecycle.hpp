// Birth, waiting and death of processes. All in thread context, without locks held.
#pragma once

#include "monitors/process/posix/console/console.hpp"
#include "monitors/process/posix/process/process.hpp"

namespace tessera::posix {

struct CloneRequest {
    bool share_memory = false;  // CLONE_VM
    bool wait_for_exec = false; // CLONE_VFORK
    bool thread = false;        // CLONE_THREAD
    bool set_tls = false;
    bool set_parent_tid = false, set_child_tid = false, clear_child_tid = false;
    uint64_t stack = 0; // 0: the parent's
    uint64_t tls = 0;
    uint64_t parent_tid = 0, child_tid = 0;
    int exit_signal = kSigChild;
};

// fork, vfork and clone. Returns the child's pid (tid for a thread). Errors: Again (pids, limit),
// NoMemory.
Result<Pid> clone_task(Task& parent, const CloneRequest& r);

// exit: only this task. exit_group: the whole process; takes effect at each task's next boundary.
void begin_exit_group(Process& p, int wait_status);
// Ends the calling task (the last one ends the process). run_task returns right after it.
void finish_task(Task& t);

struct WaitRequest {
    int64_t pid = -1; // as wait4
    int options = 0;
    bool want_exited = true;
    bool leave = false; // WNOWAIT
};
struct WaitResult {
    Pid pid;        // 0: WNOHANG and nothing
    int status = 0; // wait4's word
    Times times;
    uint32_t uid = 0;
};
Result<WaitResult> wait_for_child(Task& t, const WaitRequest& r); // NoChild, Interrupted

Result<void> set_group(Task& t, Pid pid, Pid group); // setpgid
Result<Pid> new_session(Task& t);                    // setsid

// Makes the first process of a program: a child of init in a new session. Not running yet.
struct ProgramRequest {
    std::vector<std::string> arguments;
    std::vector<std::string> environment;
    std::string cwd = "/";
    uint32_t uid = 0, gid = 0;
    Ref<Console> console;
};
Result<Ref<Process>> start_program(Vnode& v, ProgramRequest r);

} // namespace tessera::posix
