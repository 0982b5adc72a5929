// Process and Task: a thread group and one of its threads; ProcessGroup and Session.
//
// Everything marked (V) is guarded by Vnode::mutex(); the rest belongs to the process's own
// threads. A Task is a kernel thread running syscall/run_task; its Thread::owner() is the Task. A
// process is a zombie from its last task's end until its parent (or the vNode's init) has waited
// for it. User memory goes back in exit, before anybody can see the zombie.
#pragma once

#include <array>
#include <atomic>
#include <string>

#include "base/list.hpp"
#include "kernel/arch/user.hpp"
#include "kernel/sync/thread.hpp"
#include "kernel/sync/wait_queue.hpp"
#include "monitors/process/posix/address_space.hpp"
#include "monitors/process/posix/file/descriptor_table.hpp"
#include "monitors/process/posix/signal/signal.hpp"
#include "monitors/process/posix/tty/tty.hpp"

namespace tessera::posix {

class Process;
class Terminal;
class Console;

class Session final : public Object {
  public:
    Session(Vnode& v, Pid pid) : Object(v, ObjectKind::Session), pid(pid) {}
    Pid pid;                // of its leader
    Ref<Terminal> terminal; // (V) controlling terminal, or none
    void record(Archive& a) override;
};

class ProcessGroup final : public Object {
  public:
    ProcessGroup(Vnode& v, Pid pid, Ref<Session> s)
        : Object(v, ObjectKind::Group), pid(pid), session(std::move(s)) {}
    Pid pid; // of its leader
    Ref<Session> session;
    uint32_t members = 0; // (V)
    void record(Archive& a) override;
};

// Holds an address space; the last holder (process, or vfork parent) destroys it.
class SpaceHolder final : public RefCounted {
  public:
    explicit SpaceHolder(Ref<AddressSpace> s) : space(std::move(s)) {}
    ~SpaceHolder() override { space->destroy(); }
    const Ref<AddressSpace> space;
};

struct Identities {
    uint32_t ruid = 0, euid = 0, suid = 0;
    uint32_t rgid = 0, egid = 0, sgid = 0;
    std::array<uint32_t, 32> groups = {};
    uint8_t group_count = 0;
    Credentials effective() const { return {euid, egid, groups, group_count}; }
    Credentials real() const { return {ruid, rgid, groups, group_count}; }
};

struct Limit {
    uint64_t soft = kNoLimit;
    uint64_t hard = kNoLimit;
};

struct Times {
    int64_t user_ns = 0;
    int64_t system_ns = 0;
};

class Task final : public Object {
  public:
    Task(Vnode& v, Process& p, Pid tid);
    ~Task() override;

    static Task* current(); // null in threads that are not tasks

    Process& process() const { return *process_; }
    Pid tid() const { return tid_; }
    AddressSpace& space() const;

    kernel::arch::UserContext context;
    kernel::Thread* thread = nullptr; // (V) set before it runs

    SignalSet blocked = 0;     // (V)
    SignalSet waiting_for = 0; // (V) rt_sigtimedwait
    PendingSignals pending;    // (V) for this task only
    AlternateStack alternate;  // own
    // rt_sigsuspend and ppoll replace `blocked`; the original comes back after the handler's frame.
    bool restore_blocked = false;
    SignalSet saved_blocked = 0;

    // Restarting an interrupted call: the instruction runs again. A timed call keeps its deadline
    // here.
    struct Restart {
        bool armed = false;
        uint64_t call = 0;
        Nanos deadline{};
    } restart;

    bool exiting = false; // exit(2): only this task
    uint64_t clear_child_tid = 0;
    uint64_t robust_list = 0;

    std::atomic<int64_t> user_ns{0}, system_ns{0}, blocked_ns{0};
    std::atomic<bool> sleeping{false};
    std::vector<std::byte> buffer; // for copies between user memory and descriptions

    void record(Archive& a) override;

  private:
    Ref<Process> process_;
    Pid tid_;
};

class Process final : public Object {
  public:
    Process(Vnode& v, Pid pid);
    ~Process() override;

    enum class State : uint8_t { Running, Stopped, Zombie, Gone };

    Pid pid() const { return pid_; }
    AddressSpace& space() const { return *memory->space; }
    Credentials credentials() const { return ids.effective(); }

    // (V)
    State state = State::Running;
    Process* parent = nullptr; // null: the vNode's init
    ListLink sibling;
    List<Process, &Process::sibling> children;
    Ref<ProcessGroup> group;
    std::vector<Task*> tasks;
    PendingSignals pending;
    std::array<SignalAction, kSignalCount + 1> actions;
    int wait_status = 0;     // as wait4 reports it, once a zombie
    bool exiting = false;    // exit_group or a fatal signal: tasks leave at their next boundary
    Task* exec_by = nullptr; // other tasks leave
    int stop_signal = 0;     // reported with Stopped
    bool stop_unreported = false, continue_unreported = false;
    bool executed = false; // has called execve (setpgid)
    bool no_child_zombies = false;
    kernel::WaitQueue child_changed; // wait4 of the parent's tasks; with V
    kernel::WaitQueue changed;       // stop/continue, tasks ended, vfork done; with V
    bool vfork_done = true;          // the child has left its parent's memory
    Process* vfork_parent = nullptr;
    std::string name;         // comm, at most 15 characters
    std::string command_line; // NUL-separated, cut at 4 KiB
    std::string environment;  // the same
    Location executable;
    Location cwd, root;
    Identities ids;
    std::array<Limit, kLimitCount> limits;
    uint32_t umask = 022;
    int nice = 0;
    int io_priority = 0; // class << 13 | level, as ioprio_set gave it; nothing here queues by it
    int exit_signal = kSigChild;
    Nanos started{};
    Nanos alarm_at = kNever; // ITIMER_REAL
    Nanos alarm_interval{};
    Times children_times;
    Times ended_times; // of tasks that have ended
    uint64_t fault_count = 0;
    uint64_t remote_fault_count = 0;
    Ref<Console> console; // of a program that tess started
    std::string death_reason;

    Ref<SpaceHolder> memory; // (V) to replace; read by own tasks
    Ref<DescriptorTable> descriptors;
    uint64_t stack_top = 0;
    uint32_t personality = 0;
    uint64_t parent_death_signal = 0;
    bool dumpable = true;
    bool no_new_privileges = false; // exec then ignores set-id bits; never taken back

    Times times(); // (V)

    void record(Archive& a) override;

  private:
    Pid pid_;
};

// Waits, and charges the time to the current task as sleep. Every wait of posix goes through here.
kernel::Wake block(kernel::WaitQueue& q, kernel::Mutex& m, Nanos deadline = kNever,
                   kernel::Interruptible how = kernel::Interruptible::Yes);
// The same as a Result: Interrupted when kicked, Timeout when late.
Result<void> block_or_fail(kernel::WaitQueue& q, kernel::Mutex& m, Nanos deadline = kNever);

} // namespace tessera::posix
