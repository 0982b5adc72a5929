// Vnode: one vNode's part on this pComponent: its processes, objects, mounts and limits.
//
// mutex() (rank Vnode) guards the process tree, groups, sessions and signals; files, pipes,
// terminals and descriptor tables have locks of their own with higher ranks. No lock is held across
// RemoteFiles calls (but a description's own), user-memory copies or AddressSpace calls.
// Created by the process monitor when GPM mounts the vNode here; stop() ends every process, and
// only then may it be destroyed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "monitors/process/posix/fs/path.hpp"
#include "monitors/process/posix/futex/futex.hpp"
#include "monitors/process/posix/process/process.hpp"

namespace tessera::posix {

class DevFs;

// The component the vNode runs on, for /proc, sysinfo and the wall clock.
struct MachineInfo {
    uint64_t total_memory = 0, free_memory = 0; // bytes
    unsigned cpus = 1;
    Nanos idle{}; // all CPUs, since boot
    uint64_t context_switches = 0;
    std::string cpu_model = "Tessera virtual CPU";
    uint64_t cpu_khz = 1'000'000;
};
class Machine {
  public:
    virtual int64_t realtime_ns() = 0; // cluster time since the epoch
    virtual MachineInfo info() = 0;

  protected:
    ~Machine() = default;
};

struct VnodeServices {
    RemoteFiles& files;
    AddressSpaceFactory& spaces;
    Random& random;
    Machine& machine;
    void (*run_task)(Task&); // syscall/dispatch.hpp
};

struct VnodeOptions {
    VnodeId id;
    std::string name = "vnode"; // nodename
    uint32_t most_processes = 1024;
};

struct ProcessSnapshot {
    Pid pid, parent, group, session;
    uint32_t uid = 0;
    char state = 'R';
    Nanos started{};
    int64_t cpu_ns = 0;
    MemoryUse memory;
    std::string name;
};

class Vnode {
  public:
    static Result<Own<Vnode>> create(const VnodeServices& s, const VnodeOptions& o);
    ~Vnode(); // stop() first

    // Kills every process and waits until all have ended. Timeout if some did not.
    Result<void> stop(Nanos deadline);

    VnodeId id() const { return options_.id; }
    const VnodeOptions& options() const { return options_; }
    const VnodeServices& services() const { return services_; }
    RemoteFiles& files() const { return services_.files; }
    Random& random() const { return services_.random; }
    kernel::Mutex& mutex() { return mutex_; }
    ObjectTable& objects() { return objects_; }
    FutexTable& futexes() { return futexes_; }
    MountTable& mounts() { return *mounts_; }
    DevFs& devices() { return *devices_; }

    int64_t realtime_ns() const { return services_.machine.realtime_ns() + realtime_offset_; }
    Nanos uptime() const { return kernel::Thread::now() - started_; }

    // Pids [first, first + count) may be used here from now on (leased by GPM). 1 is init,
    // everywhere.
    void lease_pids(Pid first, uint32_t count);

    // The names of things, for uname and sethostname. (V)
    std::string host_name;

    // --- processes; callers hold mutex() unless told otherwise ---
    Result<Pid> allocate_pid(); // Again
    void add_process(Process& p);
    void remove_process(Process& p);
    Process* find_process(Pid pid);
    Task* find_task(Pid tid);
    ProcessGroup* find_group(Pid pid);
    template <typename F>
    void for_each_process(F&& f) {
        for (auto& [pid, p] : processes_)
            f(*p);
    }
    size_t process_count() const { return processes_.size(); }
    // Those that programs made, which init is not. Any thread, without the lock.
    uint32_t program_count() const { return program_count_.load(std::memory_order_relaxed); }
    std::map<Pid, ProcessGroup*>& groups() { return groups_; }

    // Sends; the target sees it at its next boundary, blocked calls end. Callers hold mutex().
    void send(Process& p, const SignalInfo& s);
    void send_to_task(Task& t, const SignalInfo& s);
    void send_to_group(ProcessGroup& g, const SignalInfo& s);
    bool orphaned(ProcessGroup& g);
    void alarm_changed(); // alarm_at was changed

    // Takes the lock itself.
    std::vector<ProcessSnapshot> snapshot();
    Result<void> kill(Pid pid, int signal); // from outside the vNode

    // --- poll ---
    void poll_changed(); // any thread, any lock of rank below Leaf
    uint64_t poll_generation();
    // Waits until poll_changed was called since `seen`. Interrupted, Timeout.
    Result<void> wait_poll(uint64_t seen, Nanos deadline);

    // A thread of a task that has ended, to be joined. Holds mutex().
    void retire(kernel::Thread* t);

    struct Counters {
        std::atomic<uint64_t> forks{0}, execs{0}, exits{0}, faults{0}, out_of_memory_kills{0};
    } counters;

  private:
    Vnode(const VnodeServices& s, const VnodeOptions& o);
    void housekeeping();
    void kick_for(Process& p, int signal);
    void prepare_signal(Process& p, int signal);
    bool wants(const Process& p, const Task* t, int signal) const;

    VnodeServices services_;
    VnodeOptions options_;
    Nanos started_;
    int64_t realtime_offset_ = 0;
    kernel::Mutex mutex_{kernel::LockRank::Vnode};
    ObjectTable objects_;
    FutexTable futexes_;
    Own<MountTable> mounts_;
    std::vector<Own<FileSystem>> file_systems_;
    DevFs* devices_ = nullptr;

    std::map<Pid, Ref<Process>> processes_;
    std::map<Pid, ProcessGroup*> groups_;
    std::atomic<uint32_t> program_count_{0};
    struct Lease {
        uint32_t first, count;
    };
    std::vector<Lease> leases_;
    uint32_t next_pid_ = 0; // index over all leases

    kernel::Mutex poll_mutex_{kernel::LockRank::Leaf};
    kernel::WaitQueue poll_queue_;
    uint64_t poll_generation_ = 0;

    kernel::WaitQueue keeper_queue_; // with mutex_
    std::vector<kernel::Thread*> retired_;
    kernel::WaitQueue task_ended_;
    uint32_t live_tasks_ = 0;
    bool stopping_ = false;
    kernel::Thread* keeper_ = nullptr;

  public:
    void task_started() { live_tasks_++; } // (V)
};

} // namespace tessera::posix
