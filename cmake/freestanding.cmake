# Headers of the kernel tree: libc++-19's, configured for a machine without an operating system.
set(_site ${CMAKE_BINARY_DIR}/libcxx_site)
file(READ /usr/lib/llvm-19/include/c++/v1/__config_site _config)
foreach(_switch HAS_NO_THREADS HAS_NO_MONOTONIC_CLOCK HAS_MUSL_LIBC HAS_NO_FILESYSTEM
                HAS_NO_RANDOM_DEVICE HAS_NO_LOCALIZATION HAS_NO_TIME_ZONE_DATABASE)
    string(REPLACE "/* #undef _LIBCPP_${_switch} */" "#define _LIBCPP_${_switch}" _config "${_config}")
endforeach()
file(CONFIGURE OUTPUT ${_site}/__config_site CONTENT "${_config}" @ONLY)

add_compile_options(-nostdlibinc)
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-nostdinc++>)
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-isystem ${_site} -isystem /usr/lib/llvm-19/include/c++/v1>")
add_compile_options("SHELL:-isystem /usr/include/x86_64-linux-musl")
add_compile_definitions(_GNU_SOURCE TESSERA_KERNEL=1
                        $<$<COMPILE_LANGUAGE:CXX>:_LIBCPP_HARDENING_MODE=_LIBCPP_HARDENING_MODE_FAST>)
add_compile_options(-O2 ${TESSERA_DEBUG_INFO} -fstack-protector-strong)
# Cheap checks that trap; the invalid-opcode handler names them (kernel/arch/x86_64/traps.cpp).
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fsanitize=bounds,return,unreachable>
                    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize-trap=bounds,return,unreachable>)
