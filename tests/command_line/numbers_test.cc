// What options make of numbers, in every type that the programs have.
#include "command_line/numbers.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace fmaserver::testing {
namespace {

/// The value that an option of type T takes from `text`; absent: it is refused.
template <typename T>
std::optional<T> Parsed(const std::string& text,
                        CLI::Option* (*add)(CLI::App&, const std::string&, T&,
                                            const std::string&) = AddNumber<T>) {
  CLI::App app;
  T value{};
  add(app, "--value", value, "");
  try {
    app.parse("--value=\"" + text + "\"");
  } catch (const CLI::ParseError&) {
    return std::nullopt;
  }
  return value;
}

TEST(NumbersTest, LeadingZerosAreNoBase) {
  EXPECT_EQ(Parsed<int>("010"), 10);
  EXPECT_EQ(Parsed<int>("-010"), -10);
  EXPECT_EQ(Parsed<uint64_t>("08"), 8);
  EXPECT_EQ(Parsed<double>("010"), 10.0);
  EXPECT_EQ(Parsed<int64_t>("010k", AddBytes<int64_t>), 10 << 10);
  EXPECT_EQ(Parsed<std::optional<uint32_t>>("017"), 17);
  EXPECT_EQ(Parsed<std::vector<uint32_t>>("017"), std::vector<uint32_t>{17});
}

TEST(NumbersTest, WhatDoesNotFitIsRefusedAndNeverBent) {
  for (const char* text : {"-1", "18446744073709551616", "0x10", "1e3", "1.5", "", "ten", "1 2"}) {
    EXPECT_EQ(Parsed<uint64_t>(text), std::nullopt) << text;
  }
  EXPECT_EQ(Parsed<uint64_t>("18446744073709551615"), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(Parsed<uint32_t>("4294967296"), std::nullopt);
  EXPECT_EQ(Parsed<uint32_t>("-1"), std::nullopt);
  EXPECT_EQ(Parsed<int>("2147483648"), std::nullopt);
  EXPECT_EQ(Parsed<int64_t>("9223372036854775808"), std::nullopt);
}

TEST(NumbersTest, RealsAreFiniteAndDecimal) {
  EXPECT_EQ(Parsed<double>("1e3"), 1000.0);
  EXPECT_EQ(Parsed<float>("-0.5"), -0.5F);
  for (const char* text : {"nan", "inf", "-inf", "1e999", "", "half"}) {
    EXPECT_EQ(Parsed<double>(text), std::nullopt) << text;
  }
}

TEST(NumbersTest, BytesHaveUnitsOf1024) {
  const auto bytes = [](const std::string& text) {
    return Parsed<int64_t>(text, AddBytes<int64_t>);
  };
  EXPECT_EQ(bytes("7"), 7);
  EXPECT_EQ(bytes("7b"), 7);
  for (const char* text : {"2g", "2G", "2GB", "2GiB", "2 GiB"}) {
    EXPECT_EQ(bytes(text), int64_t{2} << 30) << text;
  }
  for (const char* text :
       {"-1", "9E", "g", "2x", "2gg", "0x10", "1.5G", "", "9223372036854775808"}) {
    EXPECT_EQ(bytes(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace fmaserver::testing
