# The only ways a target is declared. One source list serves the three trees: kernel, host, asan.
#
#   tessera_library(net_wire SOURCES eth.cpp ip.cpp DEPENDS base)          all trees
#   tessera_library(... HOSTED)                                            host and asan only
#   tessera_library(... KERNEL)                                            kernel only
#   tessera_program(tess SOURCES main.cpp DEPENDS ...)                     host and asan
#   tessera_test(net SOURCES icrc_test.cpp DEPENDS net_wire)               asan only: GoogleTest, run by `make unit`
#   tessera_fuzz(packet SOURCES packet_fuzz.cpp DEPENDS net_wire)          asan only: libFuzzer, corpus in tests/fuzz/corpus/<name>

function(tessera_library name)
    cmake_parse_arguments(A "HOSTED;KERNEL" "" "SOURCES;DEPENDS" ${ARGN})
    if((A_HOSTED AND TESSERA_TREE STREQUAL "kernel") OR (A_KERNEL AND NOT TESSERA_TREE STREQUAL "kernel"))
        return()
    endif()
    add_library(${name} STATIC ${A_SOURCES})
    target_link_libraries(${name} PUBLIC ${A_DEPENDS})
endfunction()

function(tessera_program name)
    cmake_parse_arguments(A "" "" "SOURCES;DEPENDS" ${ARGN})
    if(TESSERA_TREE STREQUAL "kernel")
        return()
    endif()
    add_executable(${name} ${A_SOURCES})
    target_link_libraries(${name} PRIVATE ${A_DEPENDS})
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
