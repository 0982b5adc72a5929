// A minimal test frame inside the kernel: KTEST(Name) { EXPECT(...); }. Runs in the first kernel
// thread, with everything up. Output: one "ok NAME" or "FAILED NAME" line each, read by
// tests/kernel/run.
#pragma once

namespace tessera::kernel::test {

struct Case {
    const char* name;
    void (*run)();
    Case* next;
    Case(const char* name, void (*run)(), bool fatal = false);
    bool fatal; // is expected to end in a panic: runs alone, asked for by test=NAME
};

void fail(const char* file, int line, const char* what);

} // namespace tessera::kernel::test

#define KTEST(name)                                                        \
    static void ktest_##name();                                            \
    static ::tessera::kernel::test::Case case_##name(#name, ktest_##name); \
    static void ktest_##name()

#define KTEST_FATAL(name)                                                        \
    static void ktest_##name();                                                  \
    static ::tessera::kernel::test::Case case_##name(#name, ktest_##name, true); \
    static void ktest_##name()

#define EXPECT(condition)                                                                     \
    do {                                                                                      \
        if (!(condition)) ::tessera::kernel::test::fail(__FILE_NAME__, __LINE__, #condition); \
    } while (0)
