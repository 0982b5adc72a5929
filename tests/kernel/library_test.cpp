// What portable code takes from libc++ links and works in the kernel.
#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/kernel/ktest.hpp"

namespace tessera::kernel {
namespace {

KTEST(ContainersAndStrings) {
    std::map<std::string, int> numbers;
    for (int i = 0; i < 100; i++)
        numbers["number " + std::to_string(i * 7919 % 100)] = i;
    EXPECT(numbers.size() == 100 && numbers.begin()->first == "number 0");
    std::string s(10, 'x');
    s.insert(3, "abc");
    s.append(50, 'y').replace(0, 2, "start").push_back('!');
    EXPECT(s.find("abc") == 6 && s.size() == 67 && s.back() == '!');
    std::vector<int> v{5, 3, 9, 1};
    std::sort(v.begin(), v.end());
    EXPECT(v.front() == 1 && v.back() == 9);
    std::deque<std::string> d;
    for (int i = 0; i < 300; i++)
        d.push_back(std::to_string(i));
    for (int i = 0; i < 299; i++)
        d.pop_front();
    EXPECT(d.front() == "299");
    std::set<uint64_t> set{3, 1, 2};
    EXPECT(*set.begin() == 1);
}

} // namespace
} // namespace tessera::kernel
