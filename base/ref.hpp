// Own<T> is the single owner of a heap object; Ref<T> shares one through a count inside it.
// T& is borrowed; T* is borrowed and may be null.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace tessera {

template <typename T>
using Own = std::unique_ptr<T>;

// Base of what is held by Ref. Starts at zero; the last Ref deletes it.
class RefCounted {
  public:
    RefCounted() = default;
    RefCounted(const RefCounted&) = delete;
    RefCounted& operator=(const RefCounted&) = delete;
    uint32_t references() const { return count_.load(std::memory_order_relaxed); }

  protected:
    virtual ~RefCounted() = default; // Ref deletes through this class

  private:
    template <typename>
    friend class Ref;
    mutable std::atomic<uint32_t> count_{0};
};

template <typename T>
class Ref {
  public:
    Ref() = default;
    Ref(std::nullptr_t) {}
    explicit Ref(T* t) : p_(t) { acquire(); }
    Ref(const Ref& o) : p_(o.p_) { acquire(); }
    Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
    template <typename U>
        requires std::is_convertible_v<U*, T*>
    Ref(const Ref<U>& o) : p_(o.get()) {
        acquire();
    }
    Ref& operator=(Ref o) noexcept {
        std::swap(p_, o.p_);
        return *this;
    }
    ~Ref() { release(); }

    T* get() const { return p_; }
    T* operator->() const { return p_; }
    T& operator*() const { return *p_; }
    explicit operator bool() const { return p_ != nullptr; }
    bool operator==(const Ref&) const = default;

  private:
    void acquire() {
        if (p_) p_->RefCounted::count_.fetch_add(1, std::memory_order_relaxed);
    }
    void release() {
        if (p_ && p_->RefCounted::count_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete static_cast<RefCounted*>(p_);
    }
    T* p_ = nullptr;
};

template <typename T, typename... Args>
Ref<T> make_ref(Args&&... args) {
    return Ref<T>(new T(std::forward<Args>(args)...));
}

} // namespace tessera
