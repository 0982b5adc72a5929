#include "monitors/process/posix/vnode/vnode.hpp"

#include "base/log.hpp"
#include "monitors/process/posix/console/console.hpp"
#include "monitors/process/posix/fs/dev_fs.hpp"
#include "monitors/process/posix/fs/proc_fs.hpp"
#include "monitors/process/posix/fs/store_fs.hpp"
#include "monitors/process/posix/process/lifecycle.hpp"

namespace tessera::posix {

using kernel::MutexGuard;
using kernel::Thread;

Vnode::Vnode(const VnodeServices& s, const VnodeOptions& o)
    : host_name(o.name), services_(s), options_(o), started_(Thread::now()) {}

Result<Own<Vnode>> Vnode::create(const VnodeServices& s, const VnodeOptions& o) {
    Own<Vnode> v(new Vnode(s, o));
    v->mounts_ = std::make_unique<MountTable>();
    auto store = std::make_unique<StoreFs>(*v, s.files, 1);
    FileRef root = store->root();
    if (!root) return Fail(Error::NoDevice);
    v->mounts_->add(*store, {}, "/");
    auto dev = std::make_unique<DevFs>(*v, 5);
    auto proc = std::make_unique<ProcFs>(*v, 4);
    v->devices_ = dev.get();
    Location top{store.get(), root, "/"};
    // Mount points are made where the store lacks them.
    auto mount = [&](FileSystem& fs, const char* name) -> Result<void> {
        WalkResult w = TRY(store->walk({}, root, name, false));
        FileRef point = w.attributes.file;
        if (w.stop == WalkResult::Stop::Missing)
            point = TRY(store->create({}, root, name, FileType::Directory, 0755, 0, true)).file;
        else if (w.attributes.type != FileType::Directory)
            return Fail(Error::NotDirectory);
        v->mounts_->add(fs, {store.get(), point, std::string("/") + name}, std::string("/") + name);
        return {};
    };
    TRY(mount(*dev, "dev"));
    TRY(mount(*proc, "proc"));
    v->file_systems_.push_back(std::move(store));
    v->file_systems_.push_back(std::move(dev));
    v->file_systems_.push_back(std::move(proc));

    auto init = make_ref<Process>(*v, Pid(1)); // no tasks: it only adopts
    init->name = "init";
    init->root = init->cwd = top;
    auto session = make_ref<Session>(*v, Pid(1));
    init->group = make_ref<ProcessGroup>(*v, Pid(1), session);
    init->group->members = 1;
    {
        MutexGuard guard(v->mutex_);
        v->add_process(*init);
    }
    Vnode* raw = v.get();
    v->keeper_ = TRY(Thread::start("vnode-keeper", [raw] { raw->housekeeping(); }));
    return v;
}

Vnode::~Vnode() {
    if (keeper_) {
        {
            MutexGuard guard(mutex_);
            ASSERT(live_tasks_ == 0);
            stopping_ = true;
            keeper_queue_.wake_all();
        }
        keeper_->join();
    }
    groups_.clear();
    processes_.clear();
    file_systems_.clear();
}

Result<void> Vnode::stop(Nanos deadline) {
    MutexGuard guard(mutex_);
    for (;;) {
        for (auto& [pid, p] : processes_)
            send(*p, {.number = kSigKill, .code = kSiKernel});
        if (live_tasks_ == 0 && retired_.empty()) return {};
        Nanos now = Thread::now();
        if (now >= deadline) return Fail(Error::Timeout);
        // Sent again now and then: a fork may have been under way.
        task_ended_.wait(mutex_, std::min(deadline, now + milliseconds(50)),
                         kernel::Interruptible::No);
    }
}

// Alarms, and joining threads of tasks that have ended.
void Vnode::housekeeping() {
    mutex_.lock();
    while (!stopping_ || !retired_.empty()) {
        if (!retired_.empty()) {
            Thread* t = retired_.back();
            retired_.pop_back();
            mutex_.unlock();
            t->join();
            mutex_.lock();
            live_tasks_--;
            task_ended_.wake_all();
            continue;
        }
        Nanos now = Thread::now(), next = kNever;
        for (auto& [pid, p] : processes_) {
            if (p->alarm_at <= now) {
                send(*p, {.number = kSigAlarm, .code = kSiKernel});
                // Missed rounds of an interval are one signal, as it is pending once.
                p->alarm_at = p->alarm_interval.value
                                  ? std::max(p->alarm_at + p->alarm_interval, now + Nanos{1})
                                  : kNever;
            }
            next = std::min(next, p->alarm_at);
        }
        keeper_queue_.wait(mutex_, next, kernel::Interruptible::No);
    }
    mutex_.unlock();
}

void Vnode::retire(Thread* t) {
    retired_.push_back(t);
    keeper_queue_.wake_all();
}

void Vnode::alarm_changed() {
    keeper_queue_.wake_all();
}

// --- pids ---

void Vnode::lease_pids(Pid first, uint32_t count) {
    MutexGuard guard(mutex_);
    leases_.push_back({first.value, count});
}

Result<Pid> Vnode::allocate_pid() {
    uint32_t total = 0;
    for (const Lease& l : leases_)
        total += l.count;
    for (uint32_t tried = 0; tried < total; tried++) {
        uint32_t index = next_pid_++ % total, pid = 0;
        if (next_pid_ >= total) next_pid_ = 0;
        for (const Lease& l : leases_) {
            if (index < l.count) {
                pid = l.first + index;
                break;
            }
            index -= l.count;
        }
        Pid p(pid);
        if (pid <= 1 || processes_.contains(p) || groups_.contains(p) || find_task(p)) continue;
        bool session = false;
        for (auto& [id, g] : groups_)
            session |= g->session->pid == p;
        if (!session) return p;
    }
    return Fail(Error::Again);
}

void Vnode::add_process(Process& p) {
    processes_[p.pid()] = Ref<Process>(&p);
    groups_[p.group->pid] = p.group.get();
    program_count_ = static_cast<uint32_t>(processes_.size() - 1);
}

void Vnode::remove_process(Process& p) {
    Ref<Process> keep(&p);
    if (p.sibling.linked()) p.sibling.unlink();
    p.parent = nullptr;
    p.state = Process::State::Gone;
    if (p.group && --p.group->members == 0) groups_.erase(p.group->pid);
    processes_.erase(p.pid());
    program_count_ = static_cast<uint32_t>(processes_.size() - 1);
}

Process* Vnode::find_process(Pid pid) {
    auto found = processes_.find(pid);
    return found == processes_.end() ? nullptr : found->second.get();
}

Task* Vnode::find_task(Pid tid) {
    if (Process* p = find_process(tid); p && !p->tasks.empty() && p->tasks.front()->tid() == tid)
        return p->tasks.front();
    for (auto& [pid, p] : processes_)
        for (Task* t : p->tasks)
            if (t->tid() == tid) return t;
    return nullptr;
}

ProcessGroup* Vnode::find_group(Pid pid) {
    auto found = groups_.find(pid);
    return found == groups_.end() ? nullptr : found->second;
}

bool Vnode::orphaned(ProcessGroup& g) {
    for (auto& [pid, p] : processes_) {
        if (p->group.get() != &g || p->state == Process::State::Zombie) continue;
        if (p->console && !p->console->hung_up())
            return false; // tess continues it, or its end does
        if (!p->parent) continue;
        if (p->parent->group.get() != &g && p->parent->group->session.get() == g.session.get())
            return false;
    }
    return true;
}

// --- poll ---

void Vnode::poll_changed() {
    MutexGuard guard(poll_mutex_);
    poll_generation_++;
    poll_queue_.wake_all();
}

uint64_t Vnode::poll_generation() {
    MutexGuard guard(poll_mutex_);
    return poll_generation_;
}

Result<void> Vnode::wait_poll(uint64_t seen, Nanos deadline) {
    MutexGuard guard(poll_mutex_);
    while (poll_generation_ == seen)
        TRY(block_or_fail(poll_queue_, poll_mutex_, deadline));
    return {};
}

// --- what others see ---

std::vector<ProcessSnapshot> Vnode::snapshot() {
    struct Item {
        ProcessSnapshot s;
        Ref<SpaceHolder> memory;
    };
    std::vector<Item> items;
    {
        MutexGuard guard(mutex_);
        for (auto& [pid, p] : processes_) {
            Item i;
            i.s.pid = pid;
            i.s.parent = p->parent ? p->parent->pid() : Pid(pid.value == 1 ? 0 : 1);
            i.s.group = p->group->pid;
            i.s.session = p->group->session->pid;
            i.s.uid = p->ids.euid;
            bool asleep = true;
            for (Task* t : p->tasks)
                asleep &= t->sleeping;
            i.s.state = p->state == Process::State::Zombie    ? 'Z'
                        : p->state == Process::State::Stopped ? 'T'
                        : asleep                              ? 'S'
                                                              : 'R';
            i.s.started = p->started;
            Times t = p->times();
            i.s.cpu_ns = t.user_ns + t.system_ns;
            i.s.name = p->name;
            i.memory = p->memory;
            items.push_back(std::move(i));
        }
    }
    std::vector<ProcessSnapshot> all;
    for (Item& i : items) {
        if (i.memory) i.s.memory = i.memory->space->use();
        all.push_back(std::move(i.s));
    }
    return all;
}

Result<void> Vnode::kill(Pid pid, int signal) {
    if (signal < 0 || signal > kSignalCount) return Fail(Error::InvalidArgument);
    MutexGuard guard(mutex_);
    Process* p = find_process(pid);
    if (!p) return Fail(Error::NoProcess);
    if (signal) send(*p, {.number = signal});
    return {};
}

} // namespace tessera::posix
