//! What happens to robots in containers, from outside: one program, so that it is linked once.

mod aftermath;
mod attacks;
mod clock;
mod commands;
mod compat;
mod control;
mod damage;
mod day;
mod disk;
mod faults;
mod gates;
mod judge;
mod kills;
mod leases;
mod orphans;
mod places;
mod private;
mod quick_start;
mod reload;
mod requests;
mod rig;
mod space;
mod technician;
mod updates;
mod users;
mod ways_back;
