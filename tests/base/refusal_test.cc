#include "base/refusal.h"

#include <cstdint>
#include <limits>
#include <string>

#include "base/text.h"
#include "gtest/gtest.h"

namespace fmaserver::testing {
namespace {

TEST(RefusalTest, SaysWhatWasFoundAndWhatIsAllowed) {
  const absl::Status status = Refusal(At("config.json", "rank"), 3, FromTo(1, 2));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "config.json: rank is 3; allowed: 1 to 2");
  EXPECT_EQ(Refusal("a", "b", "c", absl::StatusCode::kOutOfRange).code(),
            absl::StatusCode::kOutOfRange);
}

TEST(RefusalTest, ShowsNumbersAsTheyAreAndForeignTextInQuotes) {
  EXPECT_EQ(Shown(int8_t{-7}), "-7");
  EXPECT_EQ(Shown(std::numeric_limits<uint64_t>::max()), "18446744073709551615");
  EXPECT_EQ(Shown(0.5F), "0.5");
  EXPECT_EQ(Shown(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(Shown(true), "true");
  EXPECT_EQ(Shown(std::string("a\"\x1b[0m")), R"("a\"\u001b[0m")");
  EXPECT_EQ(Shown(Words{"missing"}), "missing");
}

TEST(RefusalTest, PutsThePlaceBeforeAFailure) {
  absl::Status status = Refusal("rank", 3, "1");
  status.SetPayload("type", absl::Cord("payload"));
  const absl::Status placed = At("config.json", status);
  EXPECT_EQ(placed.code(), status.code());
  EXPECT_EQ(placed.message(), "config.json: rank is 3; allowed: 1");
  EXPECT_EQ(placed.GetPayload("type"), "payload");
}

TEST(RefusalTest, CutsLongText) {
  const std::string longest(80, 'x');
  EXPECT_EQ(Quoted(longest), Concat("\"", longest, "\""));
  EXPECT_EQ(Quoted(Concat(longest, "x")), Concat("\"", longest, "...\""));
  EXPECT_EQ(Quoted("a\n\xC3\xA9"), "\"a\\n\\u00e9\"");
  EXPECT_EQ(Quoted("a\xFF"), "\"a\\ufffd\"");
}

}  // namespace
}  // namespace fmaserver::testing
