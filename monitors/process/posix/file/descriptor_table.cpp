#include "monitors/process/posix/file/descriptor_table.hpp"

#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

Result<Ref<Description>> DescriptorTable::get(int fd) {
    MutexGuard guard(mutex_);
    if (fd < 0 || static_cast<size_t>(fd) >= slots_.size() || !slots_[fd].description)
        return Fail(Error::BadHandle);
    return slots_[fd].description;
}

Result<int> DescriptorTable::add(Ref<Description> d, bool close_on_exec, int limit, int least) {
    if (limit > kMost) limit = kMost;
    MutexGuard guard(mutex_);
    for (int fd = least; fd < limit; fd++) {
        if (static_cast<size_t>(fd) >= slots_.size()) slots_.resize(fd + 1);
        if (slots_[fd].description) continue;
        slots_[fd] = {std::move(d), close_on_exec};
        return fd;
    }
    return Fail(Error::TooManyFiles);
}

Result<void> DescriptorTable::put(int fd, Ref<Description> d, bool close_on_exec, int limit) {
    if (limit > kMost) limit = kMost;
    if (fd < 0 || fd >= limit) return Fail(Error::BadHandle);
    { // `d` carries the old description out of the lock.
        MutexGuard guard(mutex_);
        if (static_cast<size_t>(fd) >= slots_.size()) slots_.resize(fd + 1);
        std::swap(slots_[fd].description, d);
        slots_[fd].close_on_exec = close_on_exec;
    }
    return {};
}

Result<void> DescriptorTable::close(int fd) {
    Ref<Description> old;
    MutexGuard guard(mutex_);
    if (fd < 0 || static_cast<size_t>(fd) >= slots_.size() || !slots_[fd].description)
        return Fail(Error::BadHandle);
    std::swap(slots_[fd].description, old);
    slots_[fd].close_on_exec = false;
    return {};
}

Result<bool> DescriptorTable::close_on_exec(int fd) {
    MutexGuard guard(mutex_);
    if (fd < 0 || static_cast<size_t>(fd) >= slots_.size() || !slots_[fd].description)
        return Fail(Error::BadHandle);
    return slots_[fd].close_on_exec;
}

Result<void> DescriptorTable::set_close_on_exec(int fd, bool on) {
    MutexGuard guard(mutex_);
    if (fd < 0 || static_cast<size_t>(fd) >= slots_.size() || !slots_[fd].description)
        return Fail(Error::BadHandle);
    slots_[fd].close_on_exec = on;
    return {};
}

void DescriptorTable::close_marked() {
    std::vector<Ref<Description>> gone;
    MutexGuard guard(mutex_);
    for (Slot& s : slots_) {
        if (!s.close_on_exec) continue;
        gone.push_back(std::move(s.description));
        s = {};
    }
}

void DescriptorTable::close_all() {
    std::vector<Slot> gone;
    MutexGuard guard(mutex_);
    std::swap(gone, slots_);
}

void DescriptorTable::close_range(unsigned first, unsigned last, bool only_mark) {
    std::vector<Ref<Description>> gone;
    MutexGuard guard(mutex_);
    for (size_t fd = first; fd < slots_.size() && fd <= last; fd++) {
        if (!slots_[fd].description) continue;
        if (only_mark) {
            slots_[fd].close_on_exec = true;
            continue;
        }
        gone.push_back(std::move(slots_[fd].description));
        slots_[fd] = {};
    }
}

Ref<DescriptorTable> DescriptorTable::copy() {
    auto t = make_ref<DescriptorTable>(vnode());
    MutexGuard guard(mutex_);
    t->slots_ = slots_;
    return t;
}

std::vector<int> DescriptorTable::numbers() {
    std::vector<int> v;
    MutexGuard guard(mutex_);
    for (size_t fd = 0; fd < slots_.size(); fd++)
        if (slots_[fd].description) v.push_back(static_cast<int>(fd));
    return v;
}

// Descriptions are named by id; whoever loads a vNode connects them.
void DescriptorTable::record(Archive& a) {
    struct Entry {
        uint64_t fd = 0, id = 0, flag = 0;
    };
    std::vector<Entry> entries;
    for (size_t fd = 0; fd < slots_.size(); fd++)
        if (slots_[fd].description)
            entries.push_back({fd, slots_[fd].description->id(), slots_[fd].close_on_exec});
    a.list(entries, kMost, [&](Entry& e) {
        a.number(e.fd);
        a.number(e.id);
        a.number(e.flag);
    });
    if (!a.loading() || a.failed()) return;
    // Descriptions are loaded before the tables that name them.
    std::vector<Slot> slots;
    for (const Entry& e : entries) {
        Object* o = e.fd < kMost ? vnode().objects().find(e.id) : nullptr;
        if (!o || !is_description(o->kind())) return a.fail();
        if (slots.size() <= e.fd) slots.resize(e.fd + 1);
        slots[e.fd] = {Ref<Description>(static_cast<Description*>(o)), e.flag != 0};
    }
    kernel::MutexGuard guard(mutex_);
    slots_.swap(slots);
}

} // namespace tessera::posix
