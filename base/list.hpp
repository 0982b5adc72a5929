// Intrusive doubly linked list: an element embeds a ListLink per list it can be on and removes
// itself in constant time. Nothing is allocated and nothing is owned; whoever owns the elements
// must take them off before they die (~ListLink asserts it).
#pragma once

#include <cstddef>

#include "base/assert.hpp"

namespace tessera {

struct ListLink {
    ListLink* previous = nullptr;
    ListLink* next = nullptr;

    ListLink() = default;
    ListLink(const ListLink&) = delete;
    ListLink& operator=(const ListLink&) = delete;
    ~ListLink() { ASSERT(!linked()); }

    bool linked() const { return next != nullptr; }
    void unlink() {
        ASSERT(linked());
        previous->next = next;
        next->previous = previous;
        previous = next = nullptr;
    }
};

// List<T, &T::link>. Not copyable; iteration tolerates removal of the element just visited.
template <typename T, ListLink T::* Member>
class List {
  public:
    List() { head_.previous = head_.next = &head_; }
    ~List() {
        ASSERT(empty());
        head_.previous = head_.next = nullptr;
    }
    List(const List&) = delete;
    List& operator=(const List&) = delete;

    bool empty() const { return head_.next == &head_; }
    size_t count() const {
        size_t n = 0;
        for (ListLink* l = head_.next; l != &head_; l = l->next)
            n++;
        return n;
    }
    T* front() { return empty() ? nullptr : owner(head_.next); }
    T* back() { return empty() ? nullptr : owner(head_.previous); }
    T* next(T& t) { return (t.*Member).next == &head_ ? nullptr : owner((t.*Member).next); }

    void push_back(T& t) { insert(head_, t); }
    void push_front(T& t) { insert(*head_.next, t); }
    void insert_before(T& position, T& t) { insert(position.*Member, t); }
    T* pop_front() {
        T* t = front();
        if (t) (t->*Member).unlink();
        return t;
    }
    static void remove(T& t) { (t.*Member).unlink(); }
    static bool contains(const T& t) { return (t.*Member).linked(); }

    class Iterator {
      public:
        Iterator(ListLink* at) : at_(at), next_(at->next) {}
        T& operator*() const { return *owner(at_); }
        T* operator->() const { return owner(at_); }
        Iterator& operator++() {
            at_ = next_;
            next_ = at_->next;
            return *this;
        }
        bool operator!=(const Iterator& o) const { return at_ != o.at_; }

      private:
        ListLink* at_;
        ListLink* next_;
    };
    Iterator begin() { return Iterator(head_.next); }
    Iterator end() { return Iterator(&head_); }

  private:
    static T* owner(ListLink* l) {
        alignas(T) static constexpr char probe[sizeof(T)] = {};
        const T* p = reinterpret_cast<const T*>(probe);
        auto offset = reinterpret_cast<const char*>(&(p->*Member)) - probe;
        return reinterpret_cast<T*>(reinterpret_cast<char*>(l) - offset);
    }
    static void insert(ListLink& before, T& t) {
        ListLink& l = t.*Member;
        ASSERT(!l.linked());
        l.previous = before.previous;
        l.next = &before;
        before.previous->next = &l;
        before.previous = &l;
    }

    ListLink head_;
};

} // namespace tessera
