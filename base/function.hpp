// Function<R(Args...), Bytes>: a move-only callable stored inline; never allocates, and a capture
// that does not fit is a compile error. The completion type of everything asynchronous.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "base/assert.hpp"

namespace tessera {

template <typename Signature, size_t Capacity = 48>
class Function;

template <typename R, typename... Args, size_t Capacity>
class Function<R(Args...), Capacity> {
  public:
    Function() = default;
    Function(std::nullptr_t) {}
    template <typename F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, Function> &&
                 std::is_invocable_r_v<R, F&, Args...>)
    Function(F&& f) {
        using Stored = std::decay_t<F>;
        static_assert(sizeof(Stored) <= Capacity, "capture less, or raise the capacity");
        static_assert(alignof(Stored) <= alignof(std::max_align_t));
        new (storage_) Stored(std::forward<F>(f));
        call_ = [](void* s, Args... args) -> R {
            return (*static_cast<Stored*>(s))(std::forward<Args>(args)...);
        };
        manage_ = [](void* from, void* to) {
            Stored* s = static_cast<Stored*>(from);
            if (to) new (to) Stored(std::move(*s));
            s->~Stored();
        };
    }
    Function(Function&& o) noexcept { take(o); }
    Function& operator=(Function&& o) noexcept {
        if (this != &o) {
            reset();
            take(o);
        }
        return *this;
    }
    ~Function() { reset(); }

    explicit operator bool() const { return call_ != nullptr; }
    R operator()(Args... args) {
        ASSERT(call_);
        return call_(storage_, std::forward<Args>(args)...);
    }
    void reset() {
        if (manage_) manage_(storage_, nullptr);
        call_ = nullptr;
        manage_ = nullptr;
    }

  private:
    void take(Function& o) {
        if (o.manage_) o.manage_(o.storage_, storage_);
        call_ = std::exchange(o.call_, nullptr);
        manage_ = std::exchange(o.manage_, nullptr);
    }

    alignas(std::max_align_t) unsigned char storage_[Capacity];
    R (*call_)(void*, Args...) = nullptr;
    void (*manage_)(void*, void*) = nullptr;
};

} // namespace tessera
