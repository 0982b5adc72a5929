#include "monitors/process/posix/object/object.hpp"

#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

Object::Object(Vnode& vnode, ObjectKind kind)
    : vnode_(vnode), kind_(kind), id_(vnode.objects().add(*this)) {}

Object::~Object() {
    vnode_.objects().remove(*this);
}

uint64_t ObjectTable::add(Object& o) {
    kernel::MutexGuard guard(mutex_);
    uint64_t id = next_++;
    objects_[id] = &o;
    return id;
}

void ObjectTable::remove(Object& o) {
    kernel::MutexGuard guard(mutex_);
    objects_.erase(o.id_);
}

Result<void> ObjectTable::rename(Object& o, uint64_t id) {
    kernel::MutexGuard guard(mutex_);
    if (objects_.contains(id) || id == 0) return Fail(Error::InvalidArgument);
    objects_.erase(o.id_);
    o.id_ = id;
    objects_[id] = &o;
    if (next_ <= id) next_ = id + 1;
    return {};
}

Object* ObjectTable::find(uint64_t id) {
    kernel::MutexGuard guard(mutex_);
    auto at = objects_.find(id);
    return at == objects_.end() ? nullptr : at->second;
}

size_t ObjectTable::count() {
    kernel::MutexGuard guard(mutex_);
    return objects_.size();
}

size_t ObjectTable::count(ObjectKind kind) {
    kernel::MutexGuard guard(mutex_);
    size_t n = 0;
    for (auto& [id, o] : objects_)
        n += o->kind() == kind;
    return n;
}

} // namespace tessera::posix
