// The other of two types of one name: see scripts/odr.
#include <vector>

struct Segment {
  long first;
  int count;
};

int Sum(const std::vector<Segment>& segments) {
  int sum = 0;
  for (const Segment& segment : segments) sum += segment.count;
  return sum;
}
