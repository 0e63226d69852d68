// The manual page of a program, for section 1.
#pragma once

#include <string>

#include "packaging/pages/command.h"

namespace fmaserver::pages {

/// In roff's macros of man(7). The help is "NAME - WHAT IT DOES", as for --help.
std::string ManPage(const Command& program, const std::string& version);

}  // namespace fmaserver::pages
