// One of two types of one name: see scripts/odr.
#include <vector>

struct Segment {
  int first;
  int count;
};

int Sum(const std::vector<Segment>& segments);

int main() { return Sum({{1, 2}}); }
