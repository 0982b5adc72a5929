# Toolchain of the kernel tree: clang-19, freestanding libc++-19 headers over musl's C headers.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_C_COMPILER clang-19)
set(CMAKE_CXX_COMPILER clang++-19)
set(CMAKE_ASM_COMPILER clang-19)
set(CMAKE_AR llvm-ar-19)
set(CMAKE_RANLIB llvm-ranlib-19)

# The target triple is the Linux one on purpose: with x86_64-unknown-none-elf clang refuses KASAN and
# ignores -mstack-protector-guard-reg.
#
# No -ffreestanding: it implies -fno-builtin, with which each load of a word through memcpy becomes a call (20,000
# instructions for the check sum of one page). kernel/rt supplies what the compiler may call: mem*, bcmp, strlen.
set(TESSERA_KERNEL_FLAGS
    "--target=x86_64-linux-gnu -mno-red-zone -mcmodel=kernel -mno-sse -mno-mmx -mcx16 -fno-pic -fno-pie -fno-omit-frame-pointer -fno-strict-aliasing -ffunction-sections -fdata-sections")
set(CMAKE_C_FLAGS_INIT "${TESSERA_KERNEL_FLAGS}")
set(CMAKE_ASM_FLAGS_INIT "${TESSERA_KERNEL_FLAGS}")
set(CMAKE_CXX_FLAGS_INIT "${TESSERA_KERNEL_FLAGS} -fno-exceptions -fno-rtti -fno-threadsafe-statics")
