# The only ways a target is declared. One source list serves the three trees: kernel, host, asan.
#
#   tessera_library(net_wire SOURCES eth.cpp ip.cpp DEPENDS base)          all trees
#   tessera_library(... HOSTED)                                            host and asan only
#   tessera_library(... KERNEL)                                            kernel only
#   tessera_program(tess SOURCES main.cpp DEPENDS ...)                     host and asan
#   tessera_test(net SOURCES icrc_test.cpp DEPENDS net_wire)               asan only: GoogleTest, run by `make unit`
#   tessera_fuzz(packet SOURCES packet_fuzz.cpp DEPENDS net_wire)          asan only: libFuzzer, corpus in tests/fuzz/corpus/<name>

# The standard headers, parsed once for the trees that `make run` builds. The asan tree goes without: it is what shows
# that each file includes what it uses.
if(NOT TESSERA_TREE STREQUAL "asan")
    file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/standard_headers.cpp CONTENT "// Needs the headers only.\n")
    add_library(standard_headers OBJECT ${CMAKE_BINARY_DIR}/standard_headers.cpp)
    target_precompile_headers(standard_headers PRIVATE
        <algorithm> <array> <atomic> <bit> <cstring> <deque> <expected> <map> <memory> <optional> <span> <string>
        <string_view> <utility> <vector>)
    target_compile_options(standard_headers PUBLIC "SHELL:-Xclang -fno-pch-timestamp") # for compiler caches
endif()

function(tessera_use_standard_headers name)
    get_target_property(sources ${name} SOURCES)
    if(TARGET standard_headers AND sources MATCHES "\\.cpp")
        target_compile_options(${name} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
        target_precompile_headers(${name} REUSE_FROM standard_headers)
    endif()
endfunction()

function(tessera_library name)
    cmake_parse_arguments(A "HOSTED;KERNEL" "" "SOURCES;DEPENDS" ${ARGN})
    if((A_HOSTED AND TESSERA_TREE STREQUAL "kernel") OR (A_KERNEL AND NOT TESSERA_TREE STREQUAL "kernel"))
        return()
    endif()
    add_library(${name} STATIC ${A_SOURCES})
    target_link_libraries(${name} PUBLIC ${A_DEPENDS})
    tessera_use_standard_headers(${name})
endfunction()

function(tessera_program name)
    cmake_parse_arguments(A "" "" "SOURCES;DEPENDS" ${ARGN})
    if(TESSERA_TREE STREQUAL "kernel")
        return()
    endif()
    add_executable(${name} ${A_SOURCES})
    target_link_libraries(${name} PRIVATE ${A_DEPENDS})
    tessera_use_standard_headers(${name})
    # $ORIGIN/../lib: where `make dist` puts libraries that the target machine may lack.
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin
                                             BUILD_RPATH "$ORIGIN/../lib")
endfunction()

function(tessera_test name)
    cmake_parse_arguments(A "" "" "SOURCES;DEPENDS" ${ARGN})
    if(NOT TESSERA_TREE STREQUAL "asan")
        return()
    endif()
    add_executable(${name}_test ${A_SOURCES})
    # Tests themselves unoptimised: they are built far more often than they run.
    target_compile_options(${name}_test PRIVATE -O0)
    target_link_libraries(${name}_test PRIVATE ${A_DEPENDS} hosted_runtime GTest::gmock GTest::gtest GTest::gtest_main)
    set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endfunction()

function(tessera_fuzz name)
    cmake_parse_arguments(A "" "" "SOURCES;DEPENDS" ${ARGN})
    if(NOT TESSERA_TREE STREQUAL "asan")
        return()
    endif()
    add_executable(${name}_fuzz ${A_SOURCES})
    target_link_libraries(${name}_fuzz PRIVATE ${A_DEPENDS} hosted_runtime)
    target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
    set_target_properties(${name}_fuzz PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
endfunction()
