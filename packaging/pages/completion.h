// What shells complete, as the files that they read: subcommands, options, and the values of those
// that can be listed.
#pragma once

#include <string>

#include "packaging/pages/command.h"

namespace fmaserver::pages {

std::string BashCompletion(const Command& program);
std::string ZshCompletion(const Command& program);
std::string FishCompletion(const Command& program);

}  // namespace fmaserver::pages
